"""Reports: statistics over seeds, tables, pictures; of any system's runs."""
