"""The report: one page of a study's results that opens from disk, fetches nothing and holds its pictures."""

from fewframes.reporting.site.page import Study, write_site

__all__ = ["Study", "write_site"]
