"""Video: frames that are read as they are shown, faces that are found in them, mouths that are followed and cut out."""
