"""Names of the formats that are read, for texts that need no reader."""

FORMAT_NAMES = (
    *("litellm", "langfuse", "phoenix", "mlflow"),
    *("lm-eval", "inspect", "promptfoo", "routerbench"),
    "responses",
)
