"""What the nano weights are worth, and the script that writes them if they are worth shipping."""
