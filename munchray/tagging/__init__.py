"""The BiLSTM-CRF tagger: shared layers, a CRF head per corpus, decoding, exact-span scores, weights on disk."""
