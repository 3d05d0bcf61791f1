"""The core's commands, one module each; related ones share."""
