"""What a person sees while work goes on and when it is done; plain lines where no one looks. (rich)"""
