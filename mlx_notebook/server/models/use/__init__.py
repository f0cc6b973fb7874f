"""Who uses which model: users, open notebooks, requests that ask to keep one."""
