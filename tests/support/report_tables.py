"""Tables of a report, to be read by their rows."""

from mlu.report.groups import settings_in
from mlu.report.paper import tables_of
from mlu.runs.read import collect
from tests.support.made_runs import leave, metrics_of


def settings(folder):
    return settings_in(collect([folder]))


def tables(folder, name):
    return [table for table in tables_of(settings(folder)) if table.name == name]


def table_of(folder, name):
    (table,) = tables(folder, name)
    return table


def rows(table):
    """Row -> column -> our number and the paper's."""
    return {
        row.title: {
            column.title: (cell.value, paper)
            for column, cell, paper in zip(table.columns, row.cells, row.printed, strict=True)
        }
        for row in table.rows
    }


def best(table):
    return {(table.rows[row].title, table.columns[column].title) for row, column in table.best}


def leave_three_methods(folder):
    """Leave a run that forgets and keeps most, one that keeps less, one that forgets nothing."""
    for name, kept, above in (("wp", 0.9, -0.03), ("wf", 0.8, -0.01), ("cfk", 0.95, 0.08)):
        leave(folder / name, metrics_of(retained=kept, excess=above), method=name)
    return folder
