"""What the API answers with, a module for each subject. Requests and bundles are the contract's own classes."""
