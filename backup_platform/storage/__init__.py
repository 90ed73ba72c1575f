"""Object stores: where packs, roots and records are kept. Free of Django; one contract, several backends."""
