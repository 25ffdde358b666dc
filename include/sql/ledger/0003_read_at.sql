-- When a batch was read tells which of two batches knows more, whatever the order in which they are loaded.
ALTER TABLE sinew.batch
    ADD COLUMN read_at timestamptz;        -- when its reading began, by the clock of this server
