"""A small travel agency: trips that people ask for, what providers offer, and the bookings that are made."""
