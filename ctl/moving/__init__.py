"""From other mail systems to Postern."""
