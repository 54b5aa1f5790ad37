"""The LightningModule, the recipe, the loop around them, and what a run leaves behind."""
