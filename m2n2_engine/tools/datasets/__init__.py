"""``m2n2 datasets``: published data sets, brought to one form."""
