"""Real faults against a real platform: kills, broken links, full and failing disks, power cuts, damage."""
