"""What runs on Kubernetes itself: the deployed endpoint, and a trial on several nodes.

Needs the packages of the extra `pipeline`, imported when used.
"""
