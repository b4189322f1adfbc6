"""The tagger: a shared BiLSTM, a linear-chain CRF per corpus, exact-span scores, weights on disk."""
