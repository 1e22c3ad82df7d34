"""Guards: what an engine built and did, as it reports it, is compared with what the stage says."""
