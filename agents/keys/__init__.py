"""The kit, vault and machine records, enrolment strings, statements: made and checked where the customer is."""
