"""The kit, vault and machine records, enrolment strings, statements: made and checked where the customer is."""

from agents.keys.crypto_loading import load_through_ctypes

load_through_ctypes()
