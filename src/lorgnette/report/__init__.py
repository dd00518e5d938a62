"""What people see of a run: facts (numbers), figures (pictures of facts), page (one HTML file)."""
