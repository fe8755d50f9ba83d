"""HTML reports: one self-contained file per report, readable offline, on a phone and in print."""
