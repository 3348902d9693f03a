"""The authors' published weights to our bundles and back."""
