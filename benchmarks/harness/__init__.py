"""What measures: clients, load, the contenders and their processes."""
