"""What is fast, measured against what users would pick instead."""
