"""The tagger: a shared BiLSTM, a linear-chain CRF per corpus, exact-span scores, and a model one can take away."""
