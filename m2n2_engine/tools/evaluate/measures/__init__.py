"""What is measured in masks and counted over objects."""
