"""Does every example end as if nothing had been done to it, whoever is killed and whenever? `python -m harmed`."""
