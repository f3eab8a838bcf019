"""A bureau de change that asks others for exchange rates."""
