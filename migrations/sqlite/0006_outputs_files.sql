-- ComfyUI's outputs of a job that are too large for its row are one of its files.
ALTER TABLE media ADD COLUMN is_outputs INTEGER NOT NULL DEFAULT 0 CHECK (is_outputs IN (0, 1));
