"""All panels in one."""
