"""A campus that is not there: strangers to the drivers, each device with a ledger of its deeds."""
