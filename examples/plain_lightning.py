"""SamModule in a script of your own: plain Lightning, no samft command line.

Run: python examples/plain_lightning.py DIR   (a folder as in recipes/microscopy.yaml)
"""

import sys

from lightning.pytorch import Trainer, seed_everything

from samft import MicroscopyDataModule, OptimizerSettings, PromptSettings, SamModule


def main(root: str, *, max_epochs: int = 5, out: str = "runs/plain") -> SamModule:
    """Train a nano SAM from random weights on a folder of cells and return it."""
    seed_everything(0)
    module = SamModule(
        "vit_nano",  # or "vit_b", weights="vit_b"
        adapt="full",
        loss_stride=1,
        prompts=PromptSettings(rounds=2, extra_passes=0, max_objects_per_image=8),
        optimizer=OptimizerSettings(lr=1e-3, encoder_lr_factor=1.0),
    )
    data = MicroscopyDataModule(root=root, batch_size=4, val_fraction=0.25)
    trainer = Trainer(max_epochs=max_epochs, default_root_dir=out, num_sanity_val_steps=-1)
    trainer.fit(module, datamodule=data)
    print("zero-shot", module.zero_shot)
    print("tuned    ", module.history[-1] if module.history else {})
    return module


if __name__ == "__main__":
    main(sys.argv[1])
