"""A report as text, as a table in a terminal, as HTML and as a dict for JSON."""
def as_text(report):
    return f"{report.ok} {report.truth}\n" + "\n".join(map(str,report.failures))+"\n"+"\n".join(map(str,report.modes))+f"\n{report.taylor} {report.subgradients} {report.nonfinite} {report.seconds}"
