"""The checks of a fit, one module for each part of the model. The way in is `bayescascade.checks.check`."""
