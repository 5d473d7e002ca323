"""Google's API as clients speak it: requests in, answers and refusals out."""
