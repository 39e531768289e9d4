"""From files to batches: a Source lists, prepare_pack decodes, a Pack holds, the DataModule feeds."""
