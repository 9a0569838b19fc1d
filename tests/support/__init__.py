"""What tests share: builders and helpers."""
