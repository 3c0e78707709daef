"""What every claim of every paper must be, whatever it comes out as: `make verify` judges them."""
