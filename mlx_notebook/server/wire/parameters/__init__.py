"""Parameters that several APIs share: which are used, ignored or refused."""
