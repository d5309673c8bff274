"""
Attacks."""
