"""Many faults and swaps of models: nothing may be lost."""
