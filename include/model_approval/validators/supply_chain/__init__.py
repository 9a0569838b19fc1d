"""Where an artifact comes from and what it drags along: signature, licences, dependencies, bill of materials.

Part of the security scan. Everything is looked up offline; what could not be looked up is a gap, never "nothing found".
"""
