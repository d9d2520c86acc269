"""Pictures of trained models; they need matplotlib, the extra `tiedgraph[plot]`."""
