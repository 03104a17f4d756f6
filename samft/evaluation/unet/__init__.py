"""A U-Net trained on the same data for the same time: is SAM worth it?"""
