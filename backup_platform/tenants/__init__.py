"""Tenants, their members and roles, and the scope that keeps them apart."""
