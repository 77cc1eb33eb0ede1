"""Plots and pages as text: inline SVG and self-contained HTML. Pure; nothing is loaded from anywhere. It knows no service."""
