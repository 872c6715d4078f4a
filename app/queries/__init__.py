"""From a run folder to small arrays; the only part of the app that reads files."""
