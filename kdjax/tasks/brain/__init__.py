"""The brain as a teacher: classes decoded from responses to images, run by run."""
