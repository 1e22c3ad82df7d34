#!/bin/bash
llamafactory-cli train tune.yaml learning_rate=2e-5 max_steps=3000
