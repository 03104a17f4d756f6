"""Data sets in tar files ("shards"), read in place: for sets of millions of images.

The shards are those of webdataset, which is also how SA-1B comes: plain tar files in which the
files of a sample have one name and different endings. Neither that package nor litdata is needed
to read them. Both give streams: an order that is only shuffled within a buffer, and no way back to
a sample by number, without which a run cannot go on exactly where it stopped, nor several processes
share an epoch without doubles; litdata besides wants the data converted to a format of its own. The
one thing a tar lacks for that is a table of where its files begin. It is made once per shard, and
then every sample is one read from a known place.
"""
