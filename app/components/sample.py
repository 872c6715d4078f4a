"""Where `sample_link` was."""

from app.components.gallery import sample_link as sample_link
